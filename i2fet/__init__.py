"""Photo and sentence to a 3D face that moves from one expression to another."""
