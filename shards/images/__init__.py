"""Any picture to stored gray: JPEG, PNG, DICOM."""
