"""Neural renderers: photos of people moved by trained networks, on files that users obtain."""
