"""How well a picture follows the hand that was asked for."""
