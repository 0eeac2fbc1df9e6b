"""The order of the gallery's examples: what most people need comes first."""

ORDER = (
    "plot_first_minute.py",
    "plot_streaming_drift.py",
    "plot_closed_loop.py",
    "plot_many_sequences.py",
    "plot_adapt_to_machines.py",
    "plot_prediction_intervals.py",
    "plot_grid_search.py",
    "plot_resume_stream.py",
    "plot_distributed_search.py",
    "plot_fast_weights.py",
    "plot_weight_dynamics.py",
)


class ByUse:
    """A key for sphinx-gallery; an example that is not in the order is an error."""

    def __init__(self, src_dir):
        self.src_dir = src_dir

    def __call__(self, filename):
        return ORDER.index(filename)

    def __repr__(self):
        return "<ByUse>"
