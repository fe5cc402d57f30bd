"""The rows of a list: what a user's own say of images, images in several rows, and rows joined to DICOM files."""
