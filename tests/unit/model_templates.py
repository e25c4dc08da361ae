"""Chat templates with the structure of today's models, written after the kind: turn markers, where
the system turn stands, how thoughts are printed, dropped, opened and closed."""

QWEN3 = """\
{%- if messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(asked=-1) %}
{%- for m in messages %}
{%- if m.role == 'user' %}{%- set ns.asked = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}
{%- elif m.role == 'assistant' %}
{%- set said, thought = m.content, '' %}
{%- if m.reasoning_content is string %}{%- set thought = m.reasoning_content %}
{%- elif '</think>' in said %}
{%- set thought = said.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set said = said.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.index0 > ns.asked and (loop.last or thought) %}
{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + said.lstrip('\\n') }}
{%- else %}{{- said }}{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

_DEEPSEEK = """\
{%- set ns = namespace(first='') %}
{%- for m in messages %}
{%- if m.role == 'system' %}{%- set ns.first = m.content %}{%- endif %}
{%- endfor %}
{{- bos_token + ns.first }}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<｜User｜>' + m.content }}
{%- elif m.role == 'assistant' %}
{%- set said = m.content.split('</think>')[-1] if '</think>' in m.content else m.content %}
{{- '<｜Assistant｜>PRINTED' + said + '<｜end▁of▁sentence｜>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜>' + ASKED }}{%- endif %}"""
R1_DISTILL = _DEEPSEEK.replace("PRINTED", "").replace("ASKED", "'<think>\\n'")
DEEPSEEK = _DEEPSEEK.replace("PRINTED", "</think>").replace(
    "ASKED", "('<think>' if thinking is defined and thinking else '</think>')"
)

# Neither prints a token behind a reply: the next turn's header ends it.
GLM4 = """\
{{- '[gMASK]<sop>' }}
{%- for m in messages %}{{- '<|' + m.role + '|>\\n' + m.content }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"""
GLM45 = """\
{{- '[gMASK]<sop>' }}
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- set said, thought = m.content, '' %}
{%- if m.reasoning_content is string %}{%- set thought = m.reasoning_content %}
{%- elif '</think>' in said %}
{%- set thought = said.split('</think>')[0].split('<think>')[-1].strip() %}
{%- set said = said.split('</think>')[-1] %}
{%- endif %}
{{- '<|assistant|>\\n<think>' + (thought.strip() if loop.last else '') }}
{{- '</think>\\n' + said.strip() }}
{%- else %}{{- '<|' + m.role + '|>\\n' + m.content }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}
{%- if enable_thinking is defined and not enable_thinking %}{{- '\\n<think></think>' }}{%- endif %}
{%- endif %}"""

GEMMA3 = """\
{{- bos_token }}
{%- set first = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}
{%- set turns = messages[1:] if first else messages %}
{%- for m in turns %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate') }}{%- endif %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}
{{- (first if loop.first else '') + m.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""
GEMMA4 = """\
{{- bos_token }}
{%- set thinks = enable_thinking is defined and enable_thinking %}
{%- if thinks or messages[0].role == 'system' %}
{{- '<|turn>system\\n' + ('<|think|>\\n' if thinks else '') }}
{{- (messages[0].content | trim if messages[0].role == 'system' else '') + '<turn|>\\n' }}
{%- endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '<|turn>user\\n' + m.content | trim + '<turn|>\\n' }}
{%- elif m.role == 'assistant' %}
{{- '<|turn>model\\n' + m.content.split('<channel|>')[-1] | trim + '<turn|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|turn>model\\n' }}
{%- if not thinks %}{{- '<|channel>thought\\n<channel|>' }}{%- endif %}
{%- endif %}"""

GPT_OSS = """\
{{- '<|start|>system<|message|>You are a model.\\nCurrent date: ' }}
{{- strftime_now('%Y-%m-%d') + '<|end|>' }}
{%- for m in messages %}
{%- if m.role == 'system' %}
{{- '<|start|>developer<|message|># Instructions\\n\\n' + m.content + '<|end|>' }}
{%- elif m.role == 'user' %}{{- '<|start|>user<|message|>' + m.content + '<|end|>' }}
{%- else %}
{%- if loop.last and not add_generation_prompt and m.thinking %}
{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}
{%- endif %}
{{- '<|start|>assistant<|channel|>final<|message|>' + m.content }}
{{- '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"""

MISTRAL = """\
{%- if messages[0].role == 'system' %}
{%- set first = messages[0].content %}
{%- set turns = messages[1:] %}
{%- else %}{%- set turns = messages %}{%- endif %}
{{- bos_token }}
{%- for m in turns %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate') }}{%- endif %}
{%- if m.role == 'user' and loop.last and first is defined %}
{{- '[INST] ' + first + '\\n\\n' + m.content + '[/INST]' }}
{%- elif m.role == 'user' %}{{- '[INST] ' + m.content + '[/INST]' }}
{%- else %}{{- ' ' + m.content | trim + '</s>' }}{%- endif %}
{%- endfor %}"""

_END = "<｜end▁of▁sentence｜>"
# name → (template, what the prompt ends with, special tokens of which the first ends a text, what
# closes a thought; None: it has none)
REAL = {
    "Qwen3": (
        QWEN3,
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ["<|im_end|>", "<|im_start|>", "<|endoftext|>"],
        "\n</think>\n\n",
    ),
    "R1-Distill": (
        R1_DISTILL,
        "<｜Assistant｜><think>\n\n</think>\n\n",
        [_END, "<｜User｜>", "<｜Assistant｜>"],
        "\n</think>\n\n",
    ),
    "DeepSeek-V3.1": (
        DEEPSEEK,
        "<｜Assistant｜></think>",
        [_END, "<｜User｜>", "<｜Assistant｜>"],
        "\n</think>\n\n",
    ),
    "GLM-4": (
        GLM4,
        "<|assistant|>\n",
        ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"],
        None,
    ),
    "GLM-4.5": (
        GLM45,
        "<|assistant|>\n<think></think>\n",
        ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"],
        "</think>\n",
    ),
    "Gemma 3": (
        GEMMA3,
        "<start_of_turn>model\n",
        ["<eos>", "<start_of_turn>", "<end_of_turn>"],
        None,
    ),
    "Gemma 4": (
        GEMMA4,
        "<|turn>model\n<|channel>thought\n<channel|>",
        ["<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>"],
        "\n<channel|>",
    ),
    "gpt-oss": (
        GPT_OSS,
        "<|start|>assistant<|channel|>final<|message|>",
        ["<|return|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>"],
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "Mistral-7B-Instruct-v0.3": (MISTRAL, "[/INST]", ["</s>", "[INST]", "[/INST]"], None),
}
