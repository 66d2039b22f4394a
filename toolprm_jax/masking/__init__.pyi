from .masked import mask_record as mask_record
