"""What a bus tells about itself: health, notices and figures."""
