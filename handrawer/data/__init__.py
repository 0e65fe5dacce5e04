"""Pictures of hands, cleansed and relabelled, as shards for training: `python -m handrawer data prepare`."""
