from .comparison import compare as compare
from .comparison import over_seeds as over_seeds
from .pipeline import Transcoding as Transcoding
from .pipeline import transcode as transcode
from .settings import TranscodeSettings as TranscodeSettings
from .smollm import smollm2 as smollm2
from .teacher import Teacher as Teacher
from .teacher import load_teacher as load_teacher
