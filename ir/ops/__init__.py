"""The op declarations. `ops.rms_norm` is the declared op; calling it builds a pattern."""

from graphwright.ir.ops.attention import *
from graphwright.ir.ops.caches import *
from graphwright.ir.ops.causal import *
from graphwright.ir.ops.codes import *
from graphwright.ir.ops.convolution import *
from graphwright.ir.ops.elementwise import *
from graphwright.ir.ops.experts import *
from graphwright.ir.ops.indexing import *
from graphwright.ir.ops.matrix import *
from graphwright.ir.ops.neural import *
from graphwright.ir.ops.quantization import *
from graphwright.ir.ops.recurrence import *
from graphwright.ir.ops.reduction import *
from graphwright.ir.ops.seeded import *
from graphwright.ir.ops.shape import *
from graphwright.ir.ops.sorting import *
