from .app import Service as Service
from .app import make_app as make_app
from .worker import Worker as Worker
