"""Finding what the documents and the accepted corrections say, and putting it before the model."""
