"""Audio: reading, level, half pedal, synthesis, rendering and pitch contours."""
