"""The panels' states: plain classes and functions that make of messages what a dashboard shows; no widget, no pandas."""
