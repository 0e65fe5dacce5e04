"""Beyond hands and beyond training: a machine part, and guidance without a trained adapter. See docs/ablation.md."""
