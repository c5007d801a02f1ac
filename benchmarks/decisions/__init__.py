"""Rules that decide whether a canary may stay, compared on the same simulated traffic.

A rule that never blames a healthy canary may also never see a sick one, and the other way round: so
both are measured, for ours and for what others use, with what they cost in requests and bad
answers.
"""
