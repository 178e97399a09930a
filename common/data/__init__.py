"""Training samples: their schema, WebDataset shards with an index, the order of reading, and batches."""
