"""Crawling: what is to be fetched, what was fetched, and when to stop."""
