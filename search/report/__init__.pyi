from .intervals import bootstrap_interval as bootstrap_interval
from .intervals import f1_intervals as f1_intervals
from .intervals import paired_bootstrap as paired_bootstrap
from .tables import results_table as results_table
from .tables import write_json as write_json
from .tables import write_results as write_results
from .tables import write_search_picture as write_search_picture
