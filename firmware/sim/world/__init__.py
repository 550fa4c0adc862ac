"""The physical world around one virtual board: sensors, wires, cable, supply voltage. Everything here is simulated.

Knows nothing of Meuse's protocol, records or storage: it ends at the board's pins and at its serial plug.
"""
