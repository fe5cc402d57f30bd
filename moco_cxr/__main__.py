"""``python -m moco_cxr`` is the command ``moco-cxr``."""

from moco_cxr.command import main

if __name__ == "__main__":
    main()
