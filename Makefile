PYTHON := .venv/bin/python

protos: ## Generate the Python of tandem/ from protos/
	@$(PYTHON) -m scripts.generate_protos

.PHONY: protos
