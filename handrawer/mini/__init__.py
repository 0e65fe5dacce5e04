"""The embedded small diffusion model: synthetic hands, training from nothing, sampling.

It exists to make the demo run with nothing downloaded and to prove the method. It knows synthetic hands and nothing
else: every picture that it makes is a demonstration.
"""
