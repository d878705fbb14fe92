"""Social media: the networks' interfaces for programs, the exports and archives they hand out, and threads of both."""
