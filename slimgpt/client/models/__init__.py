"""What the API answers, as frozen pydantic models. Fields that a newer service adds are kept."""
