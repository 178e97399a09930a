"""Model packages from published weights: the X-Dub release, and the video model that training starts from."""
