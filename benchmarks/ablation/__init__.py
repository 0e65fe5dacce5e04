"""The proof: every part of HanDrawer taken out in turn, on the small model's frozen base. See docs/ablation.md."""
