"""The face to the world: REST API, web page, grounding in the documents, and feedback that becomes training rows.

It knows contracts only: what answers, retrieves and stores is handed to ``api.app.create_app``.
"""
