"""Writes the demo's data files from their seeds."""

from pathlib import Path

from snaketune.runtime.job import job

with job(snakemake.log[0]):
    from snaketune.demo import files
    from snaketune.runtime.files import write_json, write_jsonl

    splits = files.math_splits()
    few = {name: splits[name][: files.ROWS_OF_EACH_FORMAT] for name in ("train", "test")}
    for name, rows in splits.items():
        write_jsonl(Path(snakemake.output[name]), rows)
    write_json(Path(snakemake.output.json), few["test"])
    files.write_csv_rows(few["test"], Path(snakemake.output.csv))
    files.write_parquet(few["test"], Path(snakemake.output.parquet))
    files.write_dataset_folder(few, Path(snakemake.output.folder))
    files.write_csv_rows(files.prompt_rows(), Path(snakemake.output.prompts))
    write_jsonl(Path(snakemake.output.verdicts), files.verdict_rows())
    for split in ("train", "test"):
        rows = files.reading_rows(f"reading_{split}")
        write_jsonl(Path(snakemake.output[f"reading_{split}"]), rows)
    files.write_csv_rows(files.quiz_rows(), Path(snakemake.output.quiz))
    solutions, catalogue = files.verifier_splits()
    files.write_dataset_folder(solutions, Path(snakemake.output.verifier))
    files.write_csv_rows(catalogue, Path(snakemake.output.catalogue))
