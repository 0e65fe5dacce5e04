"""Synthetic pictures as photographs are: several hands, what they hold, what hides them, people, and a camera."""
