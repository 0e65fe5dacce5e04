"""What a hand is: joints, models, posing, anatomy, gestures, cameras, and the list of hands that everything shares."""
