"""What the figures were taken on."""

import platform

import peft
import torch
import transformers

versions = (
    f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
)
where = platform.processor() or platform.machine()
if torch.cuda.is_available():
    import bitsandbytes

    layer = bitsandbytes.nn.Linear4bit(256, 256, quant_type="nf4").cuda()
    assert layer(torch.ones(2, 256, device="cuda")).isfinite().all()
    free, whole = torch.cuda.mem_get_info()
    where = f"{torch.cuda.get_device_name()} ({free / 1e9:.0f} of {whole / 1e9:.0f} GB free)"
print(f"RESULT {where}: Python {platform.python_version()}, {versions}")
