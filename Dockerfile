# The page of a finished run, on a CPU. Not built where it was written: there was no engine.
FROM python:3.11-slim
RUN useradd --create-home smear
WORKDIR /opt/leukemia
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY leukemia ./leukemia
COPY hydra_plugins ./hydra_plugins
COPY conf ./conf
RUN pip install --no-cache-dir --constraint constraints.txt '.[serve]'
USER smear
WORKDIR /home/smear
EXPOSE 8000
ENTRYPOINT ["leukemia-serve", "host=0.0.0.0"]
