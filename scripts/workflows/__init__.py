"""The workflows that ship: what is in them (any_model, mini), and how they become files (files, host)."""
