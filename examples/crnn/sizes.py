"""How large the network is, for network.py and pretrain.py."""

CHANNELS = (12, 24, 32, 48, 64, 64, 80)
LSTM_UNITS = 56
CLASSES = 199  # 198 symbols and the CTC blank
DROPPED = 0.1
BATCH_NORM_DECAY = 0.99
BATCH_NORM_EPSILON = 0.001
