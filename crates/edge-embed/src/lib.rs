//! WordPiece tokenizer, built-in static embedding model and the model registry.
