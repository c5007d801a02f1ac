"""What `modelrelease doctor` reads, with the rights of the person who asks.

Every reading is for itself: what cannot be had is `Unseen`, and hides nothing else.
"""
