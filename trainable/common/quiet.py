"""Turns off the libraries' own progress bars and logs."""

import os
import warnings


def quiet_libraries() -> None:
    """Call once in a process, before models or datasets are loaded."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # AdamW that may be captured warns at steps that aren't, such as the first of each width.
    warnings.filterwarnings("ignore", message=".*capturable=True")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def quiet_datasets() -> None:
    """The same for `datasets`."""
    import datasets

    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # reading a local file asks no host
