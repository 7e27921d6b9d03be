// ClassicBench
