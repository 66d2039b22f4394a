from .embedded import EMBEDDED as EMBEDDED
from .embedded import TOKENIZER as TOKENIZER
from .masked import masked_corpus as masked_corpus
from .masked import takes as takes
from .masked import training_group as training_group
from .spec import Split as Split
from .tokenizer import corpus_texts as corpus_texts
from .tokenizer import train_tokenizer as train_tokenizer
