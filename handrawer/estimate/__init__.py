"""Pictures to hands: MediaPipe's landmarks, then a fit of the hand model under the joint limits."""
