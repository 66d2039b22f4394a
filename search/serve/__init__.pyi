from .app import make_app as make_app
from .handlers import Service as Service
from .worker import Worker as Worker
