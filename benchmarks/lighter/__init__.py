"""Lighter: stored types, a small adapter and few-step sampling of the small model. See docs/ablation.md."""
