"""What a person sees of a relay in a terminal: the live log (`tail`) and the full screen (`top`); no pandas."""
