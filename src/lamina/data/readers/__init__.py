"""Parsers of file formats: bytes to plain JSON values, so that they run in the jail; a bad file costs itself alone."""
