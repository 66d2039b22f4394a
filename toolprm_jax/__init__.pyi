from .annotation import label_completion as label_completion
from .model import score_completion as score_completion
from .model.files import load as load
from .records import Call as Call
from .records import DataError as DataError
from .records import Record as Record
from .records import Tool as Tool
from .records import read_records as read_records

__version__: str
