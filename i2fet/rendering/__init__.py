"""Drawing heads: rasteriser, shape images, video."""
