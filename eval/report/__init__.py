"""Results for the eye: tables, figures, the page."""
