"""Who may call each method of the task service. A method without a rule keeps it from starting."""

from shared.grpc_server.interceptor import Access

ACCESS = {
    "/tandem.task.v1.TaskService/CreateTask": Access.USER,
    "/tandem.task.v1.TaskService/GetTask": Access.USER_OR_AGENT,
    "/tandem.task.v1.TaskService/BatchGetTasks": Access.USER_OR_AGENT,
    "/tandem.task.v1.TaskService/ListTasks": Access.USER_OR_AGENT,
    "/tandem.task.v1.TaskService/UpdateTask": Access.USER,
    "/tandem.task.v1.TaskService/DeleteTask": Access.USER,
    "/tandem.task.v1.TaskService/AssignTask": Access.USER,
    "/tandem.task.v1.TaskService/UnassignTask": Access.USER,
    "/tandem.task.v1.TaskService/UpdateTaskStatus": Access.USER_OR_AGENT,
    "/tandem.task.v1.TaskService/VerifyDependencies": Access.USER,
}
