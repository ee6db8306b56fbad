"""Arrays and physics: resampling, blur, noise, intensity, metrics. No learning."""
